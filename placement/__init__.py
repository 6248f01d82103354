"""Where: clusters, bindings, grants, devices, and all that is known about headscale."""
