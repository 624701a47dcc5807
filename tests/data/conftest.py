from hypothesis import settings

# A loaded machine is no bug: examples have no deadline.
settings.register_profile("af-kit", deadline=None)
settings.load_profile("af-kit")
