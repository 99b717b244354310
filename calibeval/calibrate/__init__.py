"""Mending a model without training it again."""
