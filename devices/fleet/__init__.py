"""A seeded fleet that behaves: poles, cells, trucks, feeders and gateways of a city, on city time at any speed."""
