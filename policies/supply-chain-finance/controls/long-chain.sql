-- id: long-chain
-- title: Receivables passed on too often
-- title-zh: 流转层级过长的债权凭证
-- clause: supply chain finance rules, art. 7: tiers of circulation are limited
-- clause-zh: 供应链金融规则第七条：债权凭证流转层级应当合理
-- severity: low
-- subject: receivable_id
-- owner: holder
SELECT receivable_id,
       owner AS holder,
       debtor,
       root,
       tier,
       amount,
       issued_at
FROM supply_chain_finance.receivable
WHERE state = 'held' AND tier > :most
ORDER BY receivable_id
