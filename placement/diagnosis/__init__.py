"""Why a device is not in its network yet: what happened, stage by stage, where it stalls, and what the likely cause is.

gather.py    the rows about one device             ->  facts.py
stages.py    facts -> a timeline and its stage     (pure)
causes.py    the stage's likely causes, in order   (pure)
words.py     stages and causes for people
reports.py   a client's `tailscale netcheck` and its own probes, read strictly
"""
