-- id: refused-requests
-- title: Requests refused, by reason
-- title-zh: 被拒绝的访问请求（按原因）
-- clause: access rules, art. 8: attempts without right are known and looked into
-- clause-zh: 访问控制规则第八条：无权访问的尝试应当留痕并查明
-- severity: medium
-- subject: member
-- each: attempt
-- owner: member
SELECT tried.member AS member,
       tried.action || ': ' || tried.outcome AS attempt,
       COUNT(*) AS times,
       MIN(tried.time) AS first_at,
       MAX(tried.time) AS last_at
FROM ledger.transactions AS tried
WHERE tried.contract = 'access-control'
  AND tried.action IN ('request', 'spend', 'spend-offline')
  AND tried.outcome <> 'accepted'
  AND tried.member IS NOT NULL
GROUP BY tried.member, tried.action, tried.outcome
HAVING COUNT(*) > :most
ORDER BY tried.member, tried.action, tried.outcome
