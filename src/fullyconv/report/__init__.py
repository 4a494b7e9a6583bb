"""Pages about training runs: self-contained HTML, drawn without any library."""
