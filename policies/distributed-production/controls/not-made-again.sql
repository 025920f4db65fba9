-- id: not-made-again
-- title: Rejected lots that were not made again
-- title-zh: 拒收后未返工的批次
-- clause: joint production rules, art. 11: what is rejected is made again in time
-- clause-zh: 协同生产规则第十一条：拒收的批次应及时返工
-- severity: medium
-- subject: lot_id
-- owner: owner
SELECT lot.lot_id AS lot_id,
       lot.share AS share,
       lot.owner AS owner,
       lot.pieces AS pieces,
       lot.answered_at AS rejected_at,
       (:as_of_time - lot.answered_at) / 86400000 AS waiting_days
FROM distributed_production.lot AS lot
JOIN distributed_production.share AS share
  ON share.share_id = lot.share
WHERE lot.state = 'rejected'
  AND share.state <> 'fulfilled'
  AND :as_of_time - lot.answered_at > :days * 86400000
ORDER BY lot.lot_id
