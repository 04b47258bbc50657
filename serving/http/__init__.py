"""What every HTTP door shares: who may come in, uploads, errors, metrics, retries. Imports nothing else of serving."""
