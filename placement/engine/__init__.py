"""The placement engine: pure decisions over plain facts. Nothing in this package knows Django, a database or a server.

facts    what the engine knows of clusters, pools and tenants, and what it answers
ring     who comes first: consistent hashing, an immutable snapshot of a uhashring
eligibility   who may: one small function per rule, one ordered list
choice   who it is: bounded load among the first few of the ring
heat     what a server's counters say of its load
ledger   arithmetic of promised load
regions  where to look, in which order
rebalance   plans of moves: even out a pool, empty clusters of it
moves    what such plans are made of
shelf    a pool while a plan is being made
whatif   experiments on paper
"""
