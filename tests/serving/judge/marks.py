"""The marks of the shipped domains, as a vision-language judge gives them."""

from configs.domains import find, shipped

MARKS = {name: find(name).question.marks for name in shipped()}
