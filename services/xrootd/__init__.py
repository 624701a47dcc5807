"""XRootD storage on 127.0.0.1: open to everybody, for X.509 proxies, for bearer tokens, and a cache."""
