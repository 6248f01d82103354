"""What usage costs: pure functions from phases and what was used to lines, taxes and totals. No Django, no clock, no database."""
