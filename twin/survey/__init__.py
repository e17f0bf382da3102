"""Surveying: making a city's files from an OpenStreetMap extract, from nothing, or from a city's own tables."""
