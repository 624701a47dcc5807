"""An OpenID Connect provider with a login page, two users, and claims as INDIGO IAM gives them."""
