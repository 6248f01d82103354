"""Everything the service knows about headscale servers: their admin API, their database, their configuration."""
