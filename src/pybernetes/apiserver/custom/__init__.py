"""Custom resources: definitions become served resources while the server runs.

``definition`` reads a CustomResourceDefinition, ``decide`` says which conditions and names it gets, ``kind`` is what the
request pipeline asks of its objects, ``versioning`` and ``webhook`` convert between its versions, ``controller`` registers,
establishes and removes. Everything else (requests, patches, apply, store, watch cache) is the same as for built-in kinds.
Specified by "Custom Resources" and "Versions in CustomResourceDefinitions".
"""
