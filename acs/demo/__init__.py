"""Servers, data and a fleet for a machine that has nothing but Python."""
