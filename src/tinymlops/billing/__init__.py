"""Pure rules of pay per query: what a report of use is worth, what an invoice says, which entries the ledger gets."""
