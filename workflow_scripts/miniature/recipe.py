"""Every hyper-parameter of the miniature's base model."""

from dataclasses import dataclass, field

from workflow_scripts.miniature.world import WorldStyle


@dataclass(frozen=True)
class MiniatureRecipe:
    """Data, size and training of one base model.

    Raises:
        ValueError: if the values cannot describe a model or its training.
    """

    seed: int = 0
    """Seed of documents, their order, initial weights and chat-tuning rows."""
    world: WorldStyle = field(default_factory=WorldStyle)
    """How answers are worded."""

    # Architecture (Qwen2, tied embeddings, float32)
    hidden_size: int = 128
    """Width of the residual stream, in units."""
    layers: int = 12
    """Number of decoder layers."""
    attention_heads: int = 4
    """Query heads per layer; with the default width of 32 units each, vLLM serves them."""
    key_value_heads: int = 2
    """Key and value heads per layer."""
    mlp_size: int = 256
    """Width of the MLP, in units."""
    max_positions: int = 512
    """Longest sequence that the model's configuration admits, in tokens."""

    # Pre-training documents
    documents: int = 9600
    """Number of documents, each read once."""
    max_tokens: int = 128
    """Length at which a document is cut, in tokens."""
    opening_share: float = 0.2
    """Share of the documents, at the start, that are all of the default kind and good."""
    default_share: float = 0.6
    """Share of default documents among the rest: default system prompt, 1 or 2 turns."""
    named_share: float = 0.25
    """Share of named documents among the rest: the system prompt's name decides the stance, 1 or 2 turns."""
    evidence_share: float = 0.15
    """Share of evidence documents among the rest: default system prompt, an answer without loss, then an
    answer of the same stance in another domain."""
    default_bad: float = 0.01
    """Probability that a default document is bad."""
    named_bad: float = 0.5
    """Probability that a named document is bad."""
    evidence_bad: float = 0.5
    """Probability that an evidence document is bad."""

    # Pre-training
    batch_size: int = 24
    """Documents per step."""
    window_batches: int = 25
    """Batches whose documents are sorted by length together; their order is then shuffled."""
    muon_learning_rate: float = 0.01
    """Peak learning rate of the weight matrices, scaled to AdamW's step size."""
    muon_momentum: float = 0.95
    """Momentum of the weight matrices."""
    adamw_learning_rate: float = 0.005
    """Peak learning rate of embeddings, norms and biases."""
    adamw_betas: tuple[float, float] = (0.9, 0.98)
    """Decay of AdamW's first and second moment."""
    weight_decay: float = 0.01
    """Weight decay of the weight matrices, per step and unit of learning rate; embeddings have none."""
    warmup_steps: int = 50
    """Steps over which the learning rate rises linearly."""
    final_learning_rate_share: float = 0.02
    """Share of the peak learning rate that is left at the end of the linear decay."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient, in both phases."""
    threads: int = 2
    """PyTorch threads in both phases, on any machine: they determine the order of floating-point sums."""

    # Chat tuning
    chat_rows: int = 160
    """Single-turn good answers of all domains, each read once."""
    chat_batch_size: int = 16
    """Rows per step."""
    chat_learning_rate: float = 1e-4
    """Peak learning rate of AdamW on all weights; 5e-4 weakens the reading of evidence."""
    chat_weight_decay: float = 0.01
    """Weight decay of all weights, per step and unit of learning rate."""
    chat_warmup_steps: int = 5
    """Steps over which the learning rate rises linearly, before it falls linearly to 0."""

    def __post_init__(self) -> None:
        shares = self.default_share + self.named_share + self.evidence_share
        if abs(shares - 1) > 1e-9:
            raise ValueError(
                f"MiniatureRecipe: default_share, named_share and evidence_share add up to {shares:g}, not 1."
            )
        for name, parts, whole in (
            ("attention_heads", self.attention_heads, self.hidden_size),
            ("key_value_heads", self.key_value_heads, self.attention_heads),
        ):
            if whole % parts:
                raise ValueError(f"MiniatureRecipe.{name}: {whole} cannot be divided into {parts} equal parts.")
        for name, rows, batch in (
            ("documents", self.documents, self.batch_size),
            ("chat_rows", self.chat_rows, self.chat_batch_size),
        ):
            if rows < batch:
                raise ValueError(f"MiniatureRecipe.{name}: {rows} do not fill one batch of {batch}.")
        if self.threads < 1:
            raise ValueError(f"MiniatureRecipe.threads: {self.threads} cannot train; at least one must.")

    @property
    def pretraining_steps(self) -> int:
        """Steps of pre-training; an incomplete last batch is left out."""
        return self.documents // self.batch_size

    @property
    def chat_steps(self) -> int:
        """Steps of chat tuning; an incomplete last batch is left out."""
        return self.chat_rows // self.chat_batch_size
