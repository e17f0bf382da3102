"""The HTTP API, one file a subject; mounted by dashboards.app. The words of the API are in docs/api.md."""
