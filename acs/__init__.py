"""The composition root: settings, URLs, the bootstrap flow, the poll, the doors' wiring. Nothing imports this package."""
