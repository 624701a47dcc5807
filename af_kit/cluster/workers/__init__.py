"""What runs in a worker, or in its nanny, and what they start with."""
