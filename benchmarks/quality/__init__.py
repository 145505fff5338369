"""How well a search finds: recorded learning curves, searches replayed on them, and what the figures say."""
