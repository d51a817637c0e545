"""Other people's databases as subjects of ``spec.store``: as thin as can be."""
