"""The app whose models the tests change."""
