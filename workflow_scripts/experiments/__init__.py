"""The paper's experiments, one module each: from judged responses, directions and probes to rows of a table."""
