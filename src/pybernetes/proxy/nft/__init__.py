"""nftables spoken directly to the kernel: tables as plain descriptions, changes as small netlink transactions.

``nft`` reads the whole ruleset before it changes one element; a message of our own costs what it changes (see
``docs/decisions/0009``). ``wire`` and ``expressions`` (pure) encode, ``tables`` describes, ``contents`` keeps what a set's elements
should be and who wants them, ``kernel`` talks. Specified by ``linux/netfilter/nf_tables.h``.
"""
