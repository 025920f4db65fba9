-- id: never-delivered
-- title: Shares of which nothing has been accepted long after the promised date
-- title-zh: 承诺日期已过仍未交付的份额
-- clause: joint production rules, art. 12: who takes a share delivers it
-- clause-zh: 协同生产规则第十二条：承接份额的工厂应当交付
-- severity: high
-- subject: share_id
-- owner: owner
SELECT share.share_id AS share_id,
       share.demand AS demand,
       share.owner AS owner,
       share.quantity AS quantity,
       share.made AS made,
       share.sent AS sent,
       offer.ready_at AS promised_at,
       (:as_of_time - offer.ready_at) / 86400000 AS late_days
FROM distributed_production.share AS share
JOIN distributed_production.offer AS offer
  ON offer.offer_id = share.offer
WHERE share.state IN ('taken', 'late')
  AND share.accepted = 0
  AND :as_of_time - offer.ready_at > :days * 86400000
ORDER BY share.share_id
