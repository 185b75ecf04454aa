-- Consumes a nonce, and nothing else.
return { 'admitted', digits(now) }
