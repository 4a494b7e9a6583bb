"""The same networks in fewer operations, and taken apart for engines: no result changes."""
