"""A Django site for the tests: its settings, its app `shop`, its views.

To import it sets Django up, for the rest of the process.
"""

import os

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "django_site.settings"
django.setup()
del os.environ["DJANGO_SETTINGS_MODULE"]  # what is read is read: no program of a test inherits it
