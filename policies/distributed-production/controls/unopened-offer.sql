-- id: unopened-offer
-- title: Offers that were sealed and never opened
-- title-zh: 密封后未开封的报价
-- clause: joint production rules, art. 5: who offers under seal opens its offer
-- clause-zh: 协同生产规则第五条：密封报价的工厂应当开封
-- severity: low
-- subject: offer_id
-- owner: owner
SELECT offer.offer_id AS offer_id,
       offer.demand AS demand,
       offer.owner AS owner,
       offer.sealed_at AS sealed_at,
       demand.reveal_until AS reveal_until
FROM distributed_production.offer AS offer
JOIN distributed_production.demand AS demand
  ON demand.demand_id = offer.demand
WHERE offer.state = 'sealed'
  AND demand.state <> 'cancelled'
  AND :as_of_time > demand.reveal_until
ORDER BY offer.offer_id
