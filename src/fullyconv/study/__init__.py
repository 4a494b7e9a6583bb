"""The paper's studies, each one function: from a question to a table, the paper's row beside it."""
