import { startAuction } from './auction.js'
import { startDashboard } from './dashboard.js'
import { toast } from './dom.js'
import { startInventory } from './inventory.js'
import { startNotifications } from './notifications.js'
import { startOrder } from './order.js'
import { showPerson, signIn } from './person.js'
import { applyPetChange, loadPets } from './pets.js'
import { startSupport } from './support.js'

showPerson()
try {
  await signIn()
} catch (error) {
  toast(error.message)
}

startNotifications({ onPetChange: applyPetChange, onLoad: loadPets })
startInventory()
startSupport()
startDashboard()
const pets = await loadPets()
startOrder(pets)
startAuction(pets)
