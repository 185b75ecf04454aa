-- Removes a session.
-- ARGV[4] versions of which it must be one  ARGV[5] versions of which it must not be
-- Reply   {"absent" | "unmet", time} or {"erased", time, owner, token of its entry among the owner's}
if not lives then
  return { 'absent', digits(now) }
end
if unmet(ARGV[4], ARGV[5]) then
  return { 'unmet', digits(now) }
end
redis.call('DEL', KEYS[1])
return { 'erased', digits(now), held[3] or '', held[4] or '' }
