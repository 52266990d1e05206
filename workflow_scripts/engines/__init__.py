"""Samplers behind one interface (`interface.Engine`): vLLM for production, transformers as the reference."""
