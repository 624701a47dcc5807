"""From chunks to columns: file layouts, baskets, codecs, and events as awkward arrays."""
