-- id: self-certificate
-- title: Plants that tried to certify
-- title-zh: 企图自行出具质量证书的工厂
-- clause: joint production rules, art. 10: nobody certifies what it makes
-- clause-zh: 协同生产规则第十条：任何工厂不得为自产批次出具质量证书
-- severity: critical
-- subject: member
-- owner: member
-- The contract refuses it; that it was tried is on record.
SELECT tried.member AS member,
       COUNT(*) AS times,
       MIN(tried.time) AS first_at,
       MAX(tried.time) AS last_at
FROM ledger.transactions AS tried
WHERE tried.contract = 'distributed-production'
  AND tried.action = 'certify'
  AND tried.outcome = 'policy'
  AND EXISTS (SELECT 1 FROM distributed_production.share AS share WHERE share.owner = tried.member)
GROUP BY tried.member
ORDER BY tried.member
