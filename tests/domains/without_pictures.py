"""Pages without pictures and without examples: what a domain is that needs `data.images`."""

from dataclasses import replace

from configs.domains import find

DOMAIN = replace(find("web"), name="without", shipped_pictures=False)
