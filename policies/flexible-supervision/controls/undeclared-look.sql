-- id: undeclared-look
-- title: Looks recorded by the ledger that no agency had declared
-- title-zh: 账本已记录而未事先登记的查阅
-- clause: flexible supervision rules, art. 9: every look at a company is on record with purpose and legal basis
-- clause-zh: 柔性监管规则第九条：对企业的每次查阅均应登记目的和法律依据
-- severity: high
-- subject: member
-- owner: member
SELECT looked.member AS member,
       COUNT(*) AS looks,
       MIN(looked.time) AS first_at,
       MAX(looked.time) AS last_at
FROM ledger.looks AS looked
WHERE NOT EXISTS (
    SELECT 1
    FROM flexible_supervision.look AS declared
    WHERE declared.owner = looked.member
      AND declared.opened_at <= looked.time
      AND (declared.closed_at IS NULL OR declared.closed_at >= looked.time)
)
GROUP BY looked.member
ORDER BY looked.member
