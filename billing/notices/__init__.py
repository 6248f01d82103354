"""What customers are told by e-mail: written in the transaction of what it tells (writing), put into words when its turn comes (wording), sent (sending)."""
