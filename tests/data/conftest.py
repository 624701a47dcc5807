from hypothesis import settings

# Examples have no deadline, so that they also pass on a loaded machine.
settings.register_profile("af-kit", deadline=None)
settings.load_profile("af-kit")
