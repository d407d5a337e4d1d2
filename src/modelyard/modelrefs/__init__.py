"""From the name of a model to the model: what a reference means in a project.

Sits above bases, adapters and the configs that run in an environment. Loads no weights into
memory: `inference.open_model` does.
"""
