"""Attacks on a log by who has its files, and what finds them.

Whatever forges here is written from DESIGN, section 7, RFC 6962 and the C2SP pages, and imports
nothing of the product: an error of the product's would not be repeated by its attacker.
"""
