"""The breaker room."""
