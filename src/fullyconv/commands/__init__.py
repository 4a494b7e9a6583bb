"""What the command does: one verb in each file. They parse, call, and print."""
