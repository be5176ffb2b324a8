"""The site's views, sync and async."""

urlpatterns: list[object] = []
