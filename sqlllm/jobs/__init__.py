"""Jobs: scripts of statements that a machine starts again and again."""
