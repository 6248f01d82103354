"""Tenants' network policies as documents: HuJSON read with its places, checked for what a headscale server can do. Pure; versions are in tenants/netpolicy.py."""
