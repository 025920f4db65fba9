-- id: complaints
-- title: Plants with complaints lately
-- title-zh: 近期有质量异议的工厂
-- clause: joint production rules, art. 13: complaints of the last month are made known
-- clause-zh: 协同生产规则第十三条：近一个月的质量异议应予公示
-- severity: low
-- subject: owner
-- owner: owner
SELECT owner,
       COUNT(*) AS complaints,
       SUM(pieces) AS pieces,
       MIN(answered_at) AS first_at,
       MAX(answered_at) AS last_at
FROM distributed_production.lot
WHERE complaint IS NOT NULL AND :as_of_time - answered_at <= :days * 86400000
GROUP BY owner
HAVING COUNT(*) > :most
ORDER BY owner
