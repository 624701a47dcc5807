"""XRootD storage on 127.0.0.1: one server for everybody, one for X.509 proxies, one for bearer tokens."""
